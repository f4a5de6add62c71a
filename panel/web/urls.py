"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path

from panel.web import accounts, events, isos, signing_in, storages, views

urlpatterns = [
    path("", views.vm_list, name="vms"),
    path("login", views.SignIn.as_view(), name="login"),
    path("login/code", signing_in.second_step, name="login-code"),
    path("sign-in/<str:key>", views.sign_in_by_key, name="sign-in-key"),
    path("logout", views.sign_out, name="logout"),
    path("vms/new", views.vm_new, name="vm-new"),
    path("vms/<int:vm_id>", views.vm_page, name="vm"),
    path("vms/<int:vm_id>/settings", views.vm_settings, name="vm-settings"),
    path("vms/<int:vm_id>/devices", views.vm_devices, name="vm-devices"),
    path("vms/<int:vm_id>/console", views.vm_console, name="vm-console"),
    path("vms/<int:vm_id>/guest", views.vm_guest, name="vm-guest"),
    path("nodes", views.node_list, name="nodes"),
    path("nodes/new", views.node_new, name="node-new"),
    path("nodes/<int:node_id>", views.node_page, name="node"),
    path("storages", storages.storage_list, name="storages"),
    path("storages/new", storages.storage_new, name="storage-new"),
    path("tasks", views.task_list, name="tasks"),
    path("tasks/<int:task_id>", views.task_page, name="task"),
    path("isos", isos.iso_list, name="isos"),
    path("problems", views.problem_list, name="problems"),
    path("profile", accounts.profile, name="profile"),
    path("users", accounts.user_list, name="users"),
    path("users/new", accounts.user_new, name="user-new"),
    path("users/<int:user_id>", accounts.user_page, name="user"),
    path("users/<int:user_id>/open", accounts.open_as, name="open-as"),
    path("back", accounts.go_back, name="go-back"),
    path("roles", accounts.role_list, name="roles"),
    path("roles/new", accounts.role_page, name="role-new"),
    path("roles/<int:role_id>", accounts.role_page, name="role"),
    path("journal", accounts.journal_page, name="journal"),
    path("events", events.stream, name="events"),
    path("assets/<path:name>", views.asset, name="asset"),
]
