"""The errors of the service itself: its settings, its time, its load and its store."""

from podium_service.errors.base import PodiumError


class ConfigError(PodiumError):
    code, status, title = "config_invalid", 500, "The configuration is not usable"


class DeadlineExceeded(PodiumError):
    code, status, title = "deadline_exceeded", 504, "The deadline passed before there was an answer"
    retryable = True


class GroupIncomplete(PodiumError):
    code, status, title = "group_incomplete", 504, "Not all members of the group came in time"


class Overloaded(PodiumError):
    code, status, title = "overloaded", 429, "The service has too much work to answer in time"
    retryable = True


class StoreUnavailable(PodiumError):
    code, status, title = "store_unavailable", 503, "The store does not answer"
    retryable = True


class Draining(PodiumError):
    code, status, title = "draining", 503, "The service is shutting down"
    retryable = True


class InternalError(PodiumError):
    code, status, title = "internal", 500, "The service has a bug"
