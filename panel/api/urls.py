"""Addresses of the REST API, below /api/v1/."""

from __future__ import annotations

from django.urls import path
from drf_spectacular.views import SpectacularAPIView

from panel.api import accounts, audit, catalogue, events, limits, monitoring, nodes, snapshots, tasks, usage, users, vms
from panel.api.groups import group_views
from panel.api.operations import action_views
from panel.api.pages import docs

urlpatterns = [
    path("auth/token", accounts.SignInView.as_view()),
    path("me", accounts.MeView.as_view()),
    path("me/limits", limits.MyLimitsView.as_view()),
    path("tokens", accounts.TokensView.as_view()),
    path("tokens/<int:object_id>", accounts.TokenView.as_view()),
    path("ssh-keys", accounts.SshKeysView.as_view()),
    path("ssh-keys/<int:object_id>", accounts.SshKeyView.as_view()),
    path("users", users.UsersView.as_view()),
    path("users/<int:object_id>", users.UserView.as_view()),
    path("users/<int:object_id>/limits", limits.UserLimitsView.as_view()),
    path("users/<int:object_id>/enable", users.UserActiveView.as_view(active=True)),
    path("users/<int:object_id>/disable", users.UserActiveView.as_view(active=False)),
    path("users/<int:object_id>/signin-key", users.UserSigninKeyView.as_view()),
    path("roles", users.RolesView.as_view()),
    path("roles/<int:object_id>", users.RoleView.as_view()),
    path("rights", users.RightsView.as_view()),
    path("journal", users.JournalView.as_view()),
    path("journal/export", users.JournalExportView.as_view()),
    path("vms", vms.VmsView.as_view()),
    path("vms/<int:object_id>", vms.VmView.as_view()),
    path("vms/<int:object_id>/history", vms.VmHistoryView.as_view()),
    path("vms/<int:object_id>/snapshots", snapshots.VmSnapshotsView.as_view()),
    path("vms/<int:object_id>/statistics", monitoring.VmStatisticsView.as_view()),
    path("vms/<int:object_id>/traffic", monitoring.VmTrafficView.as_view()),
    path("vms/<int:object_id>/usage", usage.VmBillView.as_view()),
    path("usage", usage.BillView.as_view()),
    path("vms/<int:object_id>/drift", audit.VmDriftView.as_view()),
    path("nodes/<int:object_id>/foreign", audit.NodeForeignView.as_view()),
    path("cluster", monitoring.ClusterView.as_view()),
    path("nodes", nodes.NodesView.as_view()),
    path("nodes/<int:object_id>", nodes.NodeView.as_view()),
    path("tasks", tasks.TasksView.as_view()),
    path("tasks/<int:object_id>", tasks.TaskView.as_view()),
    path("tasks/<int:object_id>/log", tasks.TaskLogView.as_view()),
    path("tasks/<int:object_id>/cancel", tasks.TaskCancelView.as_view()),
    path("tasks/<int:object_id>/retry-undo", tasks.TaskRetryUndoView.as_view()),
    path("images", catalogue.ImagesView.as_view()),
    path("isos", catalogue.IsosView.as_view()),
    path("flavors", catalogue.FlavorsView.as_view()),
    path("networks", catalogue.NetworksView.as_view()),
    path("pools", catalogue.PoolsView.as_view()),
    path("problems", catalogue.ProblemsView.as_view()),
    path("operations", tasks.OperationsView.as_view()),
    path("events", events.stream),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", docs),
    *action_views(),
    *group_views(),
]
