"""The words that all stages share: addresses, envelopes, replies, outcomes, trace fields.  Imports nothing of ours."""
