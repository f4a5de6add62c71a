"""Addresses of the REST API, below /api/v1/."""

from __future__ import annotations

from django.urls import path
from drf_spectacular.views import SpectacularAPIView

from panel.api import audit, monitoring, snapshots, users, views
from panel.api.groups import group_views
from panel.api.operations import action_views
from panel.api.pages import docs

urlpatterns = [
    path("auth/token", views.SignInView.as_view()),
    path("me", views.MeView.as_view()),
    path("tokens", views.TokensView.as_view()),
    path("tokens/<int:object_id>", views.TokenView.as_view()),
    path("ssh-keys", views.SshKeysView.as_view()),
    path("ssh-keys/<int:object_id>", views.SshKeyView.as_view()),
    path("users", users.UsersView.as_view()),
    path("users/<int:object_id>", users.UserView.as_view()),
    path("users/<int:object_id>/enable", users.UserActiveView.as_view(active=True)),
    path("users/<int:object_id>/disable", users.UserActiveView.as_view(active=False)),
    path("users/<int:object_id>/signin-key", users.UserSigninKeyView.as_view()),
    path("roles", users.RolesView.as_view()),
    path("roles/<int:object_id>", users.RoleView.as_view()),
    path("rights", users.RightsView.as_view()),
    path("journal", users.JournalView.as_view()),
    path("journal/export", users.JournalExportView.as_view()),
    path("vms", views.VmsView.as_view()),
    path("vms/<int:object_id>", views.VmView.as_view()),
    path("vms/<int:object_id>/history", views.VmHistoryView.as_view()),
    path("vms/<int:object_id>/snapshots", snapshots.VmSnapshotsView.as_view()),
    path("vms/<int:object_id>/statistics", monitoring.VmStatisticsView.as_view()),
    path("vms/<int:object_id>/traffic", monitoring.VmTrafficView.as_view()),
    path("vms/<int:object_id>/drift", audit.VmDriftView.as_view()),
    path("nodes/<int:object_id>/foreign", audit.NodeForeignView.as_view()),
    path("cluster", monitoring.ClusterView.as_view()),
    path("nodes", views.NodesView.as_view()),
    path("nodes/<int:object_id>", views.NodeView.as_view()),
    path("tasks", views.TasksView.as_view()),
    path("tasks/<int:object_id>", views.TaskView.as_view()),
    path("tasks/<int:object_id>/log", views.TaskLogView.as_view()),
    path("tasks/<int:object_id>/cancel", views.TaskCancelView.as_view()),
    path("tasks/<int:object_id>/retry-undo", views.TaskRetryUndoView.as_view()),
    path("images", views.ImagesView.as_view()),
    path("isos", views.IsosView.as_view()),
    path("flavors", views.FlavorsView.as_view()),
    path("networks", views.NetworksView.as_view()),
    path("pools", views.PoolsView.as_view()),
    path("problems", views.ProblemsView.as_view()),
    path("operations", views.OperationsView.as_view()),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", docs),
    *action_views(),
    *group_views(),
]
