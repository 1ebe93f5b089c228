"""Appointments: what may happen to one (`machine`), how it is written down (`journal`), the deeds that people do."""
