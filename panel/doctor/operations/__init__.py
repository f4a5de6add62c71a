"""Every operation of the doctor, one line each; a new one is added here."""

from panel.doctor.operations.examine import ExamineCluster

ALL = (ExamineCluster,)
