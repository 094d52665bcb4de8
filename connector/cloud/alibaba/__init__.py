"""Alibaba Cloud ECS as the target cloud. Nothing outside of this room knows its SDK or its words."""
