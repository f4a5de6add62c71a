"""Django's settings, all derived from the panel's own configuration (config.py)."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from panel import __version__
from panel.config import load
from panel.core.certificates import is_self_signed
from panel.places import MANAGE, SHARED

CONFIG = load()


def _secret_key(path: Path) -> str:
    """The installation's key, made on first use; it signs sessions and encrypts task secrets."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(64), encoding="ascii")
        return path.read_text(encoding="ascii").strip()


SECRET_KEY = _secret_key(CONFIG.var_dir / "keys" / "secret.key")
DEBUG = CONFIG.debug
ALLOWED_HOSTS = CONFIG.hosts

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_crontab",
    "rest_framework",
    "drf_spectacular",
    "panel.accounts",
    "panel.notices",
    "panel.tasks",
    "panel.cluster",
    "panel.storage",
    "panel.network",
    "panel.images",
    "panel.usage",
    "panel.vms",
    "panel.dns",
    "panel.monitoring",
    "panel.doctor",
    "panel.webhooks",
    "panel.api",
    "panel.mgrapi",
    "panel.web",
]

MIDDLEWARE = [
    "panel.web.assets.AssetsMiddleware",
    "panel.core.middleware.RequestIdMiddleware",
    "panel.core.middleware.LanguageMiddleware",
    "panel.api.rates.RateLimitMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "panel.web.headers.CompressedPagesMiddleware",
    "panel.web.headers.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "panel.web.reader.ReaderMiddleware",
    "panel.core.middleware.OriginMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "panel.urls"
ASGI_APPLICATION = "panel.asgi.application"
APPEND_SLASH = False

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [SHARED / "templates" / "html"],
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def _database() -> dict[str, Any]:
    # UTC for the session, since leases are compared with the database's own clock (tasks/engine.py).
    # READ COMMITTED: the task engine's locks rest on SELECT ... FOR UPDATE of single rows, and
    # REPEATABLE READ's gap locks would make unrelated inserts wait or deadlock.
    options: dict[str, Any] = {
        "charset": "utf8mb4",
        "init_command": "SET sql_mode='STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ENGINE_SUBSTITUTION', time_zone='+00:00'",
        "isolation_level": "read committed",
        "connect_timeout": 5,
    }
    if CONFIG.database_socket:
        options["unix_socket"] = CONFIG.database_socket
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": CONFIG.database_name,
        "USER": CONFIG.database_user,
        "PASSWORD": CONFIG.database_password,
        "HOST": "" if CONFIG.database_socket else CONFIG.database_host,
        "PORT": "" if CONFIG.database_socket else CONFIG.database_port,
        "OPTIONS": options,
        "TEST": {"CHARSET": "utf8mb4"},
    }


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["panel.accounts.backend.PasswordBackend"]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
PASSWORD_HASHERS = ["panel.accounts.hashing.BoundedHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 8},
    },
]

SESSION_ENGINE = "panel.accounts.session_store"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_SECURE = True
# Behind a proxy that changes Host, pages bear the address of PublicUrl.
CSRF_TRUSTED_ORIGINS = [CONFIG.public_url] if CONFIG.public_url else []
CSRF_FAILURE_VIEW = "panel.web.refusals.foreign_form"
# A browser that was told this takes no exception for a certificate of nobody's any more.
SECURE_HSTS_SECONDS = 0 if is_self_signed(CONFIG.certificate_path) else 365 * 24 * 3600
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True

STATIC_URL = "/static/"
STATIC_ROOT = CONFIG.var_dir / "static"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "panel.api.authentication.TokenAuthentication",
        "panel.api.authentication.PageAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["panel.api.reading.BoundedJson"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "panel.api.reading.AlwaysJson",
    "DEFAULT_SCHEMA_CLASS": "panel.api.schema.Schema",
    "EXCEPTION_HANDLER": "panel.api.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "vmpanel",
    "DESCRIPTION": "Control panel for KVM virtual machines.",
    "VERSION": __version__,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "panel.api.schema.complete",
    ],
    "ENUM_NAME_OVERRIDES": {
        "VmStatus": "panel.vms.models.VmStatus",
        "TaskStatus": "panel.tasks.models.Status",
        "StepStatus": "panel.tasks.models.StepStatus",
        "NodeState": "panel.cluster.models.NodeState",
        "DeliveryState": "panel.webhooks.models.DeliveryState",
        "BatchState": "panel.api.models.BatchState",
    },
}

CRONTAB_DJANGO_MANAGE_PATH = str(MANAGE)
CRONJOBS = [
    ("* * * * *", "panel.monitoring.periodic.mark_silent_nodes"),
    ("*/5 * * * *", "panel.cluster.periodic.check_nodes"),
    ("17 * * * *", "panel.tasks.periodic.purge"),
    ("23 * * * *", "panel.vms.periodic.purge_history"),
    ("29 * * * *", "panel.mgrapi.periodic.purge"),
    ("13 * * * *", "panel.network.periodic.purge"),
    ("53 * * * *", "panel.images.periodic.purge"),
    ("11 * * * *", "panel.monitoring.periodic.check_master"),
    ("6,36 * * * *", "panel.monitoring.periodic.roll_up_statistics"),
    ("31 * * * *", "panel.api.idempotency.purge"),
    ("41 * * * *", "panel.webhooks.periodic.purge"),
    ("47 3 * * *", "panel.monitoring.periodic.purge_statistics"),
    ("37 * * * *", "panel.accounts.periodic.purge"),
    ("*/15 * * * *", "panel.accounts.periodic.sync_directory"),
]

# kombu has a scheme of its own for a Unix socket.
CELERY_BROKER_URL = CONFIG.redis_url.replace("unix://", "redis+socket://", 1)

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "panel.core.request_id.LogFilter"}},
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(request_id)s %(name)s: %(message)s"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request_id"]},
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "paramiko": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
    },
}
