"""The demo's SMTP servers, and pages that show what really arrived at them."""
