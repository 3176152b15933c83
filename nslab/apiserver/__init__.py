"""The lab's Kubernetes API server: a store with watch, the REST API round it, and the sockets round that.

    bytes --server--> Request --api--> Store --journal--> disk
                                         |--> subscribers (controllers), watchers (clients)

`store` (with `events`, `metadata`, `garbage`, `shelves`), `rest` and `api` are sans-io: values in, values out. Only
`journal` and `access` touch files, only `server` and `access` sockets. Here never lives what a controller decides,
nor anything of the kernel's network. All of it runs on one event loop; nothing here locks.
"""
