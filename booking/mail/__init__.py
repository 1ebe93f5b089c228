"""Mail to patients and doctors: what is said, when, in whose language and zone, and what became of it.

`texts` are the words, `letters` put them into text and HTML, `invites` into a calendar entry; `plans` turns events into
rows of the log and jobs, `delivery` sends one when its time has come and the visit still is as the mail says.
"""
