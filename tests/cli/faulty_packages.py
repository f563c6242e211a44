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
    "links-nowhere": ("dangling-symlink", {}, {"usr/share/links-nowhere/link": ("symlink", "../no-such-folder/file")}),
    "asks": ("prompts", {"postinst": "echo 'Really?'\nread answer\n"}, {}),
    "not-there": ("not-installable", {}, {}),
    "file-conflict": ("not-installable", {}, {"etc/nanorc": "mine\n"}),
}
FIELDS = {"not-there": {"Depends": "no-such-package-anywhere"}}

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
                echo log > /var/log/clean-scripts.log
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
                rm -rf /var/lib/clean-scripts
                if getent passwd cleaner > /dev/null; then userdel cleaner; fi
            fi
        """}, {
            "usr/share/clean-scripts/file": "x\n", "etc/clean-scripts.conf": "a = 1\n",
            "lib/systemd/system/clean-scripts.service": UNIT}),
    # directories that belong to nobody, and go with the last package that has something in there
    "clean-opt": ({}, {"opt/clean-opt/app": "x\n", "srv/clean-opt/data": "x\n", "usr/local/bin/clean-opt": "x\n",
                       "usr/local/lib/clean-opt/x": "x\n"}),
    "clean-plain": ({}, {"usr/share/clean-plain/file": "x\n", "etc/clean-plain.conf": "a = 1\n"}),
}


def build_one(folder, name, scripts, files, version="1.0", **fields):
    """A package; a file may be ("symlink", target). Files in /etc are configuration files."""
    plain = {path: content for path, content in files.items() if not isinstance(content, tuple)}
    links = {path: content[1] for path, content in files.items() if isinstance(content, tuple)}
    plain = plain or {"usr/share/%s/file" % name: "%s %s\n" % (name, version)}
    conffiles = "".join("/%s\n" % path for path in sorted(plain) if path.startswith("etc/"))
    return support.make_deb(folder, name, version, plain, scripts, links=links, conffiles=conffiles, **fields)


def build(folder):
    """All of them."""
    os.makedirs(folder, exist_ok=True)
    packages = {}
    for name, (kind, scripts, files) in FAULTS.items():
        packages[name] = (build_one(folder, name, scripts, files, **FIELDS.get(name, {})), kind)
    for name, (scripts, files) in CLEAN.items():
        packages[name] = (build_one(folder, name, scripts, files), None)
    return packages
