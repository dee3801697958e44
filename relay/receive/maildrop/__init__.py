"""The maildrop: a folder where programs of this machine leave mail, whether the relay runs or not.

    a program      writes new-…, syncs it, renames it to mail-…, syncs that: the mail is safe      leaving.py, drop.py
    the relay      finds mail-…, sees who left it, and takes it in by a Visit as any client's      looking.py, turns.py
    the relay      has it on disk in its queue, and only then removes the file                     pickup.py

Who may write into the folder may not be trusted with anything else.  So nothing is believed but what the kernel says
of a file (who owns it), and what lies there is parsed strictly.  The folder has mode 3733: anybody may put a file
in, nobody can list it, and nobody but its owner can touch it (the sticky bit); and it hands its group down (the
set-group-ID bit), so that a file of mode 0640 can be read by the relay and by nobody else.

What each crash leaves:

    the program dies before the rename     new-…, which is swept after a day; the program did not say that all went well
    the machine dies after the last sync   mail-…, whole
    the relay dies before its commit       mail-…, whole; it is picked up again
    ... between commit and removal         mail-…, and it is in the queue as well: it goes out twice, never not at all
"""
