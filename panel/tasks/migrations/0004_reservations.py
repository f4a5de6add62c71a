import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("tasks", "0003_params_version")]

    operations = [
        migrations.CreateModel(
            name="Reservation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=16)),
                ("object_id", models.BigIntegerField()),
                ("resource", models.CharField(max_length=16)),
                ("amount", models.PositiveBigIntegerField()),
                (
                    "task",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="reservations", to="tasks.task"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["kind", "resource", "object_id"], name="reservation_object")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("task", "kind", "object_id", "resource"), name="one_reservation_a_task_and_resource"
                    )
                ],
            },
        ),
    ]
