"""Alibaba Cloud ECS as the target cloud. No other room knows its SDK or its words."""
