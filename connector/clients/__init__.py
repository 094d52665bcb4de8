"""How our processes speak HTTPS to each other, once: the control plane's APIs and the control port of an instance."""
