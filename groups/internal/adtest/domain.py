"""Makes an Active Directory domain and fills it: domain.py SMB.CONF ADMIN-PASSWORD <LDIF"""
import logging
import sys

from samba.auth import system_session
from samba.dsdb import DS_DOMAIN_FUNCTION_2008_R2
from samba.param import LoadParm
from samba.provision import provision
from samba.samdb import SamDB

conf, password = sys.argv[1:]
lp = LoadParm()
lp.load(conf)
# samba-tool would also write ACLs for sysvol, which not every file system can hold.
provision(
    logging.getLogger(), system_session(), smbconf=conf, lp=lp, adminpass=password,
    realm=lp.get("realm"), domain=lp.get("workgroup"), hostname=lp.get("netbios name"),
    serverrole=lp.get("server role"), dom_for_fun_level=DS_DOMAIN_FUNCTION_2008_R2,
    dns_backend="NONE", use_rfc2307=True, skip_sysvolacl=True,
)
directory = SamDB(url=lp.private_path("sam.ldb"), session_info=system_session(), lp=lp)
directory.transaction_start()
directory.add_ldif(sys.stdin.read())
directory.transaction_commit()
