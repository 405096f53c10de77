"""HTTP mechanics shared by all routes: errors, event streams, body limit, request bounds."""
