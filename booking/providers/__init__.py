"""Who may treat: applications and licences, profiles and services, and the search that finds them."""
