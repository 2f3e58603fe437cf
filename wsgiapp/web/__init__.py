"""HTTP as the application sees it: requests, answers, errors, the access log, the views."""
