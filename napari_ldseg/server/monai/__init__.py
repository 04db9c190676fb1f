"""The side of the server that needs MONAI Label: its app, tasks, datastore and endpoints."""
