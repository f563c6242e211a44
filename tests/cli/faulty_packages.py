# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""Small packages with one planted fault each, and clean ones, built by the real dpkg-deb.

build(folder) gives {name: (path of the .deb, kind of finding that is expected)}; of a clean package the kind is
None. They need nothing but a minimal Debian system; 'nano' is the package that they damage.
"""

import os

import support

UNIT = "[Unit]\nDescription=of a test\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
WANTS = "/etc/systemd/system/multi-user.target.wants"

# name: (kind, scripts, files); a script is shell after 'set -e'
FAULTS = {
    "bad-postinst": ("script-failed", {"postinst": "echo this is why >&2\nexit 3\n"}, {}),
    "bad-prerm": ("script-failed", {"prerm": "if [ \"$1\" = remove ]; then exit 4; fi\n"}, {}),
    "bad-postrm": ("script-failed", {"postrm": "if [ \"$1\" = purge ]; then exit 5; fi\n"}, {}),
    "wants-network": ("script-needs-network", {"postinst": "getent hosts updates.example.org > /dev/null\n"}, {}),
    "leaves-file": ("file-left", {"postinst": "mkdir -p /var/lib/leaves-file\necho x > /var/lib/leaves-file/state\n"}, {}),
    "leaves-log": ("file-left", {"postinst": "echo log > /var/log/leaves-log.log\n"}, {}),
    "leaves-cache": ("file-left", {"postinst": "mkdir -p /var/cache/leaves-cache\necho x > /var/cache/leaves-cache/x\n"}, {}),
    "leaves-bytecode": ("file-left", {
        "postinst": "mkdir -p /opt/__pycache__\necho x > /opt/__pycache__/leaves.cpython-311.pyc\n"}, {"opt/leaves.py": "x = 1\n"}),
    "leaves-helper-state": ("file-left", {
        "postinst": "mkdir -p /var/lib/systemd/deb-systemd-helper-enabled\n"
                    "touch /var/lib/systemd/deb-systemd-helper-enabled/leaves.service.dsh-also\n"}, {}),
    "changes-foreign": ("foreign-file-changed", {"postinst": "grep -q '# changed' /etc/nanorc || echo '# changed' >> /etc/nanorc\n"}, {}),
    "chmods-foreign": ("foreign-file-changed", {"postinst": "chmod 600 /etc/nanorc\n"}, {}),
    "removes-foreign": ("foreign-file-removed", {"postinst": "rm -f /etc/nanorc\n"}, {}),
    "leaves-user": ("user-left", {
        "postinst": "if ! getent passwd leaver > /dev/null; then useradd --system --user-group --shell /usr/sbin/nologin leaver; fi\n",
        "postrm": "if [ \"$1\" = purge ]; then rm -f /nothing; fi\n"}, {}),
    "leaves-group": ("group-left", {"postinst": "getent group leavers > /dev/null || groupadd --system leavers\n"}, {}),
    "leaves-service": ("service-left-enabled", {
        "postinst": "mkdir -p %s\nln -sf /lib/systemd/system/leaves-service.service %s/leaves-service.service\n" % (WANTS, WANTS)},
        {"lib/systemd/system/leaves-service.service": UNIT}),
    "leaves-alternative": ("alternative-left", {
        "postinst": "update-alternatives --install /usr/bin/leaver leaver /usr/share/leaves-alternative/file 10\n"}, {}),
    "leaves-diversion": ("diversion-left", {
        "preinst": "dpkg-divert --package leaves-diversion --add --rename --divert /etc/nothing.real /etc/nothing\n"}, {}),
    "leaves-statoverride": ("statoverride-left", {
        "postinst": "dpkg-statoverride --list /var/lib/nothing > /dev/null || dpkg-statoverride --add root root 0700 /var/lib/nothing\n"}, {}),
    "breaks-records": ("package-broken", {"postinst": "rm -f /var/lib/dpkg/info/nano.md5sums\n"}, {}),
    "leaves-process": ("process-left", {"postinst": "sleep 1000 > /dev/null 2>&1 < /dev/null &\n"}, {}),
    "fails-twice": ("not-idempotent", {
        "postinst": "mkdir /var/lib/fails-twice\n", "postrm": "if [ \"$1\" = purge ]; then rmdir /var/lib/fails-twice; fi\n"}, {}),
    "appends-twice": ("not-idempotent", {
        "postinst": "mkdir -p /var/lib/appends-twice\necho line >> /var/lib/appends-twice/list\n",
        "postrm": "if [ \"$1\" = purge ]; then rm -rf /var/lib/appends-twice; fi\n"}, {}),
    "changes-own": ("own-file-changed", {"postinst": "echo changed >> /usr/share/changes-own/file\n"}, {}),
    "changes-conffile": ("own-file-changed", {
        "postinst": "grep -q changed /etc/changes-conffile.conf || echo changed >> /etc/changes-conffile.conf\n"},
        {"etc/changes-conffile.conf": "a = 1\n"}),
    "removes-own": ("own-file-changed", {"postinst": "rm -f /usr/share/removes-own/file\n"}, {}),
    "through-symlink": ("through-symlink", {
        "preinst": "mkdir -p /opt/elsewhere\nln -sfn elsewhere /opt/through-symlink\n",
        "postrm": "if [ \"$1\" = purge ]; then rm -rf /opt/through-symlink /opt/elsewhere; fi\n"},
        {"opt/through-symlink/file": "x\n"}),
    "needs-to-purge": ("script-failed", {
        "postrm": "if [ \"$1\" = purge ]; then cat /usr/share/clean-plain/file > /dev/null; fi\n"}, {}),
    "needs-to-clean": ("file-left", {
        "postinst": "mkdir -p /var/lib/needs-to-clean\n",
        "postrm": "if [ \"$1\" = purge ] && [ -e /usr/share/clean-plain/file ]; then rm -rf /var/lib/needs-to-clean; fi\n"}, {}),
    "cron-fails": ("job-fails", {}, {
        "etc/cron.daily/cron-fails": ("program", "#!/bin/sh\n/usr/share/cron-fails/tool\n"),
        "usr/share/cron-fails/tool": ("program", "#!/bin/sh\ntrue\n")}),
    "script-links-nowhere": ("dangling-symlink", {
        "postinst": "ln -sfn /no-such-folder/file /etc/script-links-nowhere\n",
        "postrm": "if [ \"$1\" = purge ]; then rm -f /etc/script-links-nowhere; fi\n"}, {}),
    "links-nowhere": ("dangling-symlink", {}, {"usr/share/links-nowhere/link": ("symlink", "../no-such-folder/file")}),
    "asks": ("prompts", {"postinst": "echo 'Really?'\nread answer\n"}, {}),
    "not-there": ("not-installable", {}, {}),
    "file-conflict": ("not-installable", {}, {"etc/nanorc": "mine\n"}),
}
FIELDS = {"not-there": {"Depends": "no-such-package-anywhere"}, "needs-to-purge": {"Depends": "clean-plain"},
          "needs-to-clean": {"Depends": "clean-plain"}}

# those that take a package of Debian to be found
FAULTS_OF_RULES = {
    # there is no such log when the program is gone
    "logrotate-fails": ("job-fails", {}, {"etc/logrotate.d/logrotate-fails": "/var/log/logrotate-fails.log {\n    weekly\n}\n"}),
}

CLEAN = {
    # everything that is registered is taken back
    "clean-scripts": ({
        "postinst": """
            if [ "$1" = configure ]; then
                getent passwd cleaner > /dev/null || useradd --system --user-group --shell /usr/sbin/nologin cleaner
                mkdir -p /var/lib/clean-scripts
                echo state > /var/lib/clean-scripts/state
                chown -R cleaner: /var/lib/clean-scripts
                update-alternatives --install /usr/bin/cleaner cleaner /usr/share/clean-scripts/file 10
                dpkg-divert --package clean-scripts --add --rename --divert /etc/cleaner.real /etc/cleaner > /dev/null
                mkdir -p %s
                ln -sf /lib/systemd/system/clean-scripts.service %s/clean-scripts.service
                echo log >> /var/log/clean-scripts.log
                mkdir -p /var/cache/clean-scripts
                date +%%N > /var/cache/clean-scripts/state
            fi
        """ % (WANTS, WANTS),
        "prerm": """
            if [ "$1" = remove ]; then
                update-alternatives --remove cleaner /usr/share/clean-scripts/file
                rm -f %s/clean-scripts.service
            fi
        """ % WANTS,
        "postrm": """
            if [ "$1" = remove ]; then
                dpkg-divert --package clean-scripts --remove --rename --divert /etc/cleaner.real /etc/cleaner > /dev/null
            fi
            if [ "$1" = purge ]; then
                rm -rf /var/lib/clean-scripts /var/log/clean-scripts.log /var/cache/clean-scripts
                if getent passwd cleaner > /dev/null; then userdel cleaner; fi
            fi
        """}, {
            "usr/share/clean-scripts/file": "x\n", "etc/clean-scripts.conf": "a = 1\n",
            "lib/systemd/system/clean-scripts.service": UNIT}),
    # directories that belong to nobody, and go with the last package that has something in there
    "clean-opt": ({}, {"opt/clean-opt/app": "x\n", "srv/clean-opt/data": "x\n", "usr/local/bin/clean-opt": "x\n",
                       "usr/local/lib/clean-opt/x": "x\n"}),
    # what is left of it when it is removed does nothing
    "clean-cron": ({}, {
        "etc/cron.daily/clean-cron": ("program", "#!/bin/sh\n"
         "start-stop-daemon --start --exec /bin/true\n[ -x /usr/share/clean-cron/tool ] || exit 0\n/usr/share/clean-cron/tool\n"),
        "usr/share/clean-cron/tool": ("program", "#!/bin/sh\ntrue\n")}),
    "clean-plain": ({}, {"usr/share/clean-plain/file": "x\n", "etc/clean-plain.conf": "a = 1\n"}),
}


def build_one(folder, name, scripts, files, version="1.0", **fields):
    """A package; a file may be ("symlink", target) or ("program", text). Files in /etc are configuration files."""
    links = {path: content[1] for path, content in files.items() if content[0] == "symlink"}
    plain = {path: (content[1], 0o755) if content[0] == "program" else content
             for path, content in files.items() if path not in links}
    plain = plain or {"usr/share/%s/file" % name: "%s %s\n" % (name, version)}
    conffiles = "".join("/%s\n" % path for path in sorted(plain) if path.startswith("etc/"))
    return support.make_deb(folder, name, version, plain, scripts, links=links, conffiles=conffiles, **fields)


def build(folder):
    """All of them."""
    os.makedirs(folder, exist_ok=True)
    packages = {}
    for name, (kind, scripts, files) in (FAULTS | FAULTS_OF_RULES).items():
        packages[name] = (build_one(folder, name, scripts, files, **FIELDS.get(name, {})), kind)
    for name, (scripts, files) in CLEAN.items():
        packages[name] = (build_one(folder, name, scripts, files), None)
    return packages
