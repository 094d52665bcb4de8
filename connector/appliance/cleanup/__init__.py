"""What passes leave in vCenter: recorded before it is made, removed afterwards, repaired on request."""
