"""What the control socket can be asked, a file for each kind of question.

Each file has a class whose ``by_name`` gives the questions that it answers, for ``relay.operate.control``;
``service.py`` joins them.  Rows use the field names of the log (relay.message.step), times are seconds since the epoch.
"""
