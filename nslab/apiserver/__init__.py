"""The lab's Kubernetes API server: a store with watch, the REST API round it, and the sockets round that.

    bytes --server--> Request --api--> Store --journal--> disk
                                         |--> subscribers (controllers), watchers (clients)

`store`, `events`, `garbage`, `patches`, `selectors`, `admission`, `tables`, `resources`, `discovery` and `api` are
sans-io: values in, values out. Only `journal` touches a file, only `server` and `certificates` sockets and keys. Here
never lives what a controller decides, nor anything of the kernel's network. All of it runs on one event loop; nothing
here locks.
"""
