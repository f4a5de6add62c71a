"""Every operation on name servers and names, one line each; a new one is added here."""

from panel.dns.operations.reverse_name import SetReverseName
from panel.dns.operations.servers import AddServer, ChangeServer, CompareServer, RemoveServer

ALL = (AddServer, ChangeServer, CompareServer, RemoveServer, SetReverseName)
