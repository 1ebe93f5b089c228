"""Appointments: what may happen to one (`machine`), how it is written down (`transitions`), and what people do."""
