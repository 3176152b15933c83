"""Thin sockets round pure answers: the responder that plays the Pods' containers, and the prober that asks them.

Here live epoll loops and the sans-io answers they send. Here never live Kubernetes objects: a server is told which
netns, address and port to listen on and what to say.
"""
