// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What is never done to a template
//!
//! A template can be added to and taken from, but what it is made of stays: whoever needs another libc or dpkg needs
//! another template.

use super::action::{Action, AskedBy, Operation};
use super::causes::Incoming;
use super::relations;
use super::request::TransactionRequest;
use super::status::{Package, Status};
use crate::error::Refusal;

/// Packages that carry the transaction itself.
const OWN_TOOLS: [&str; 2] = ["apt", "dpkg"];

const NEW_TEMPLATE: &str = "make a new version of the template";

/// Why a package is part of what every template is made of.
fn fundamental(package: &Package) -> Option<&'static str> {
    if package.essential {
        Some("it is essential")
    } else if OWN_TOOLS.contains(&package.name.as_str()) {
        Some("the package management itself needs it")
    } else if package.required {
        Some("its priority is 'required'")
    } else {
        None
    }
}

/// What is refused before apt is asked.
pub(crate) fn check_request(request: &TransactionRequest, status: &Status) -> Vec<Refusal> {
    request
        .remove
        .iter()
        .filter_map(|name| {
            let package = status.installed(name)?;
            Some(Refusal {
                package: name.clone(),
                reason: format!("cannot be removed: {}", fundamental(package)?),
                way_out: NEW_TEMPLATE.to_owned(),
            })
        })
        .collect()
}

/// What is refused of what apt would do.
pub(crate) fn check_actions(
    actions: &[Action],
    request: &TransactionRequest,
    status: &Status,
) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> =
        actions.iter().filter_map(|action| check_action(action, actions, request, status)).collect();
    // naming the others is no way out where one cannot go
    if refusals.iter().any(|refusal| refusal.way_out == NEW_TEMPLATE) {
        let removed = |r: &&mut Refusal| {
            actions.iter().any(|a| a.package == r.package && a.asked_by == AskedBy::Consequence)
        };
        refusals.iter_mut().filter(removed).for_each(|r| r.way_out = NEW_TEMPLATE.to_owned());
    }
    refusals
}

/// Whether packages of an architecture can come.
pub(super) fn check_architecture(package: &str, architecture: &str, status: &Status) -> Option<Refusal> {
    let own = &status.architecture;
    (architecture != own && architecture != "all").then(|| Refusal {
        package: package.to_owned(),
        reason: format!("is of architecture {architecture}, the template is {own}"),
        way_out: format!("use a package for {own}"),
    })
}

fn check_action(
    action: &Action,
    all: &[Action],
    request: &TransactionRequest,
    status: &Status,
) -> Option<Refusal> {
    let name = &action.package;
    let refuse = |reason: String, way_out: String| Some(Refusal { package: name.clone(), reason, way_out });
    if action.operation != Operation::Remove
        && let Some(refusal) = check_architecture(name, &action.architecture, status)
    {
        return Some(refusal);
    }
    let installed = status.installed(&format!("{name}:{}", action.architecture));
    let (old, new) = (
        action.old_version.as_deref().unwrap_or_default(),
        action.new_version.as_deref().unwrap_or_default(),
    );
    if let Some(why) = installed.and_then(fundamental) {
        let what = if action.operation == Operation::Remove { "removed" } else { "replaced" };
        let cause = cause(action).map(|c| format!(" ({c})")).unwrap_or_default();
        return refuse(format!("cannot be {what}: {why}{cause}"), NEW_TEMPLATE.to_owned());
    }
    match action.operation {
        Operation::Upgrade | Operation::Downgrade if !request.allow_upgrade.contains(name) => {
            let verb = if action.operation == Operation::Upgrade { "upgraded" } else { "downgraded" };
            let held = if installed.is_some_and(Package::held) { ", held there," } else { "" };
            let cause = cause(action).map(|c| format!(" ({c})")).unwrap_or_default();
            refuse(
                format!("is part of the template{held} and would be {verb} from {old} to {new}{cause}"),
                format!("allow it with --allow-upgrade {name}"),
            )
        }
        Operation::Remove if action.asked_by == AskedBy::Consequence => {
            let cause = cause(action).unwrap_or_else(|| "it conflicts with what comes".to_owned());
            refuse(format!("would be removed as well: {cause}"), name_them(all, status))
        }
        _ => None,
    }
}

/// What else makes a package change.
fn cause(action: &Action) -> Option<String> {
    if let Some(by) = action.replaced_by.first() {
        return Some(format!("'{by}' would replace it"));
    }
    let other = action.due_to.first()?;
    Some(match (action.operation, action.asked_by) {
        (Operation::Remove, _) => format!("it depends on '{other}'"),
        _ => format!("'{other}' asks for it"),
    })
}

/// The way out for all removals that nobody named.
fn name_them(all: &[Action], status: &Status) -> String {
    let unnamed = |a: &&Action| a.operation == Operation::Remove && a.asked_by == AskedBy::Consequence;
    let unnamed: Vec<&Action> = all.iter().filter(unnamed).collect();
    let words: Vec<String> = unnamed.iter().map(|a| format!("--remove {}", a.package)).collect();
    let it = if words.len() == 1 { "it" } else { "them" };
    let auto = |a: &&Action| status.installed(&a.package).is_some_and(|p| p.auto);
    let or = if unnamed.iter().all(auto) { ", or give --auto-remove" } else { "" };
    format!("name {it} too, with {}{or}", words.join(" "))
}

/// What cannot go because something needs it that never goes: apt finds no way then, and says much.
pub(crate) fn check_needed(request: &TransactionRequest, status: &Status) -> Vec<Refusal> {
    let refuse = |name: &String| {
        let (needing, why) = needed_by(name, status)?;
        Some(Refusal {
            package: name.clone(),
            reason: format!("cannot be removed: '{needing}' needs it, and cannot be removed: {why}"),
            way_out: NEW_TEMPLATE.to_owned(),
        })
    };
    request.remove.iter().filter_map(refuse).collect()
}

/// A package that stays and needs that one, directly or not.
fn needed_by<'a>(name: &str, status: &'a Status) -> Option<(&'a str, &'static str)> {
    let mut gone = vec![status.installed(name)?];
    let mut at = 0;
    while let Some(missing) = gone.get(at).copied() {
        at += 1;
        for package in status.packages.iter().filter(|p| p.installed()) {
            let is_gone = |p: &Package| gone.iter().any(|g| std::ptr::eq(*g, p));
            let there = |group: &str| {
                let mut others = status.packages.iter().filter(|p| p.installed() && !is_gone(p));
                others.any(|other| relations::names(group, &other.subject()))
            };
            let lacks = |group: &str| relations::names(group, &missing.subject()) && !there(group);
            if is_gone(package) || !package.depends.split(',').any(lacks) {
                continue;
            }
            if let Some(why) = fundamental(package) {
                return Some((&package.name, why));
            }
            gone.push(package);
        }
    }
    None
}

/// What is refused because what comes would take over files of what every template is made of. It may do so from an
/// older version than the installed one, as packages do from which something has moved.
pub(crate) fn check_relations(
    incoming: &[Incoming<'_>],
    actions: &[Action],
    status: &Status,
) -> Vec<Refusal> {
    let stays = |name: &str| !actions.iter().any(|a| a.package == name);
    let owners = status.packages.iter().filter(|p| p.installed() && stays(&p.name));
    let owners: Vec<(&Package, &str)> = owners.filter_map(|p| Some((p, fundamental(p)?))).collect();
    let takes = |i: &Incoming<'_>| {
        let (owner, why) = owners.iter().find(|(p, _)| relations::names_itself(i.replaces, &p.subject()))?;
        Some(Refusal {
            package: i.subject.name.to_owned(),
            reason: format!("would take over files of '{}', which cannot be replaced: {why}", owner.name),
            way_out: NEW_TEMPLATE.to_owned(),
        })
    };
    incoming.iter().filter_map(takes).collect()
}

/// What is refused because it is of another release of the distribution: packages and the codenames of theirs.
pub(crate) fn check_suites<'a>(
    foreign: impl Iterator<Item = (&'a str, &'a str)>,
    own: &str,
    request: &TransactionRequest,
) -> Vec<Refusal> {
    foreign
        .filter(|(_, codename)| !request.allow_suite.iter().any(|allowed| allowed == codename))
        .map(|(package, codename)| Refusal {
            package: package.to_owned(),
            reason: format!("is from '{codename}', the template is of '{own}'"),
            way_out: format!("use a package for '{own}', or allow it with --allow-suite {codename}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::status::parse_stanzas;
    use super::*;

    const STATUS: &str = "Package: bash\nEssential: yes\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5\n\n\
        Package: apt\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\nPriority: important\n\n\
        Package: mount\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\nPriority: required\n\n\
        Package: tool\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\nDepends: lib (>= 1)\n\n\
        Package: lib\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\n";

    fn action(operation: Operation, package: &str, asked_by: AskedBy) -> Action {
        Action {
            old_version: Some("2".into()),
            new_version: (operation != Operation::Remove).then(|| "3".to_owned()),
            asked_by,
            ..Action::example(operation, package)
        }
    }

    #[test]
    fn fundamental_packages_stay() {
        let status = Status::parse(STATUS, "", "amd64");
        let request = TransactionRequest {
            remove: ["bash", "apt", "mount", "tool", "nonsuch"].map(str::to_owned).into(),
            ..Default::default()
        };
        let refused: Vec<String> = check_request(&request, &status).iter().map(ToString::to_string).collect();
        assert_eq!(
            refused,
            [
                "'bash': cannot be removed: it is essential",
                "'apt': cannot be removed: the package management itself needs it",
                "'mount': cannot be removed: its priority is 'required'",
            ]
        );
    }

    #[test]
    fn actions_are_judged() {
        use AskedBy::*;
        use Operation::*;
        let status = Status::parse(STATUS, "", "amd64");
        let request =
            TransactionRequest { allow_upgrade: vec!["lib".into(), "bash".into()], ..Default::default() };
        let foreign = |mut a: Action| {
            a.architecture = "i386".into();
            a
        };
        let table: [(Action, Option<&str>); 9] = [
            (action(Install, "new", Dependency), None),
            (
                action(Upgrade, "tool", Dependency),
                Some("'tool': is part of the template and would be upgraded from 2 to 3"),
            ),
            (
                action(Downgrade, "tool", Request),
                Some("'tool': is part of the template and would be downgraded from 2 to 3"),
            ),
            (action(Upgrade, "lib", Dependency), None),
            (action(Upgrade, "bash", Request), Some("'bash': cannot be replaced: it is essential")),
            (
                action(Remove, "tool", Consequence),
                Some("'tool': would be removed as well: it conflicts with what comes"),
            ),
            (action(Remove, "tool", AutoRemove), None),
            (action(Remove, "tool", Request), None),
            (
                foreign(action(Install, "new", Request)),
                Some("'new': is of architecture i386, the template is amd64"),
            ),
        ];
        for (action, expected) in table {
            let got = check_actions(std::slice::from_ref(&action), &request, &status);
            assert_eq!(got.first().map(ToString::to_string).as_deref(), expected, "{action:?}");
        }
        let mut both = [action(Remove, "lib", Request), action(Remove, "tool", Consequence)];
        both[1].due_to = vec!["lib".into()];
        let refused = check_actions(&both, &request, &status);
        assert_eq!(refused[0].to_string(), "'tool': would be removed as well: it depends on 'lib'");
        assert_eq!(refused[0].way_out, "name it too, with --remove tool");
        both[1].replaced_by = vec!["new".into()];
        let refused = check_actions(&both, &request, &status);
        assert_eq!(refused[0].to_string(), "'tool': would be removed as well: 'new' would replace it");
    }

    #[test]
    fn upgrades_of_what_is_held_say_so() {
        let status = Status::parse(
            &STATUS.replace("Package: tool\nStatus: install", "Package: tool\nStatus: hold"),
            "",
            "amd64",
        );
        let request = TransactionRequest::default();
        let newer = [action(Operation::Upgrade, "tool", AskedBy::Dependency)];
        assert!(check_actions(&newer, &request, &status)[0].to_string().contains("held there"));
    }

    #[test]
    fn what_the_fundamental_need_stays() {
        let status = Status::parse(
            "Package: bash\nEssential: yes\nStatus: install ok installed\nVersion: 5\nDepends: tinfo (>= 1), x | y\n\n\
             Package: tinfo\nStatus: install ok installed\nVersion: 6\nPre-Depends: libc\n\n\
             Package: x\nStatus: install ok installed\nVersion: 1\n\n\
             Package: y\nStatus: install ok installed\nVersion: 1\n\n\
             Package: libc\nStatus: install ok installed\nVersion: 2\n",
            "",
            "amd64",
        );
        assert_eq!(needed_by("libc", &status), Some(("bash", "it is essential")));
        // there is another one
        assert_eq!(needed_by("x", &status), None);
        assert_eq!(needed_by("nonsuch", &status), None);
    }

    #[test]
    fn taking_over_files_is_a_matter_of_versions() {
        let status = Status::parse(STATUS, "", "amd64");
        let comes = |replaces: &str| {
            let text = format!("Package: new\nVersion: 1\nReplaces: {replaces}\n");
            let stanza = parse_stanzas(&text).remove(0);
            let incoming = [Incoming::of(&stanza).unwrap()];
            check_relations(&incoming, &[], &status).first().map(ToString::to_string)
        };
        assert_eq!(comes("bash (<< 5), mount (<< 1.9~)"), None);
        assert_eq!(comes("tool, lib"), None);
        assert_eq!(
            comes("tool, bash (<< 6)").as_deref(),
            Some("'new': would take over files of 'bash', which cannot be replaced: it is essential")
        );
    }

    #[test]
    fn other_releases_are_refused_unless_named() {
        let foreign = || [("new", "sid"), ("other", "trixie")].into_iter();
        let request = TransactionRequest { allow_suite: vec!["trixie".into()], ..Default::default() };
        let refused: Vec<String> =
            check_suites(foreign(), "bookworm", &request).iter().map(ToString::to_string).collect();
        assert_eq!(refused, ["'new': is from 'sid', the template is of 'bookworm'"]);
    }
}
