"""What every app of the panel shares and no table belongs to: errors, request id, live events, API conventions."""
