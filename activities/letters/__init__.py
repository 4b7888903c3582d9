"""What PingPulse writes about approvals to somebody in particular: mail to approvers, and the requester's webhook."""
