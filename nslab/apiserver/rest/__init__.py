"""The Kubernetes REST API, sans-io: a Request and the store in, a Response or a WatchStream out.

Here live paths, discovery, selectors, patches, tables, admission. Here never lives a socket, a thread or a clock.
"""
