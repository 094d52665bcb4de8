# Run inside a Debian 12 that systemd has booted: installs, configures as docs/install.md says, upgrades, removes. Each `say` is one fact.
say() { echo "$*" >>/said; }
shown() { systemctl show "$1" --property="$2" --value; }

dpkg --install /connector.deb
say "enabled: $(systemctl is-enabled connector-appliance connector-control connector-instance | sort -u)"
systemctl start connector-appliance || say "unconfigured: refused"

cat >/etc/connector/control-plane.yaml <<YAML
{state: /var/lib/connector/control, port: 8443, provider: local, images: /var/lib/connector/images}
YAML
systemctl start connector-control
say "control plane: $(shown connector-control StatusText)"
say "its user: $(stat -c %U "/proc/$(shown connector-control MainPID)")"

systemd-run --quiet --unit=lab /usr/lib/connector/bin/python3 -I -m simulator --vms 1 --directory /lab --port 8989
until [ -s /lab/environment ]; do sleep 1; done
# shellcheck disable=SC1091 # the simulator wrote it
. /lab/environment
as_control="runuser -u connector-control -- connector control"
eval "$($as_control environment --state /var/lib/connector/control)"
connector init --service --name site-a --activation-code-file /var/lib/connector/control/activation-code >/init 2>&1
say "init: $(tail -n 1 /init)"
say "secrets: $(stat -c '%a %U' /etc/credstore/vcenter-password /etc/credstore/activation-code | sort -u)"
cd /etc/connector || exit 1
say "appliance: $(shown connector-appliance StatusText)"
say "its user: $(stat -c %U "/proc/$(shown connector-appliance MainPID)")"
say "watched: $(shown connector-appliance WatchdogUSec)"
CREDENTIALS_DIRECTORY=/etc/credstore connector doctor --config appliance.yaml | grep -E "^ A(3|4|8|10|11) " | cut -c 1-10 | sort -u >>/said

# A secret that is encrypted, as the page says.
systemctl stop connector-appliance
say "stopped: $(shown connector-appliance Result)"
systemd-creds encrypt --with-key=host --name=vcenter-password "$CONNECTOR_VCENTER_PASSWORD_FILE" /etc/credstore.encrypted/vcenter-password
rm /etc/credstore/vcenter-password /etc/credstore/activation-code
mkdir -p /etc/systemd/system/connector-appliance.service.d
printf '[Service]\nLoadCredentialEncrypted=vcenter-password\n' >/etc/systemd/system/connector-appliance.service.d/sealed.conf
systemctl daemon-reload
systemctl start connector-appliance
say "sealed: $(shown connector-appliance ActiveState)"

# A service that hangs is ended, and started again.
mkdir -p /etc/systemd/system/connector-control.service.d
printf '[Service]\nWatchdogSec=20\n' >/etc/systemd/system/connector-control.service.d/soon.conf
systemctl daemon-reload
systemctl restart connector-control
kill -STOP "$(shown connector-control MainPID)"
until [ "$(shown connector-control NRestarts)" != 0 ]; do sleep 1; done
say "hung: started again, cores $(shown connector-control LimitCORE)"

# What ran runs again after an upgrade, in another process; what did not, does not.
before=$(shown connector-appliance MainPID)
dpkg --install /connector.deb
until [ "$(shown connector-appliance ActiveState)$(shown connector-control ActiveState)" = activeactive ]; do sleep 1; done
[ "$before" != "$(shown connector-appliance MainPID)" ] && say "upgraded: started again"
say "instance: $(shown connector-instance ActiveState)"

dpkg --purge connector
say "purged: $(shown connector-appliance ActiveState) $(find /var/lib/connector/appliance -name 'evidence-key*' | wc -l)"
say "enabled links: $(find /etc/systemd/system -name 'connector-*.service' | wc -l)"
