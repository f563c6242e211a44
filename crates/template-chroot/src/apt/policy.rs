// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What is never done to a template
//!
//! A template can be added to and taken from, but what it is made of stays: whoever needs another libc or dpkg needs
//! another template.

use super::plan::{Action, AskedBy, Operation};
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
    actions.iter().filter_map(|action| check_action(action, actions, request, status)).collect()
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
        && action.architecture != status.architecture
        && action.architecture != "all"
    {
        return refuse(
            format!("is of architecture {}, the template is {}", action.architecture, status.architecture),
            format!("use a package for {}", status.architecture),
        );
    }
    let installed = status.installed(&format!("{name}:{}", action.architecture));
    let (old, new) = (
        action.old_version.as_deref().unwrap_or_default(),
        action.new_version.as_deref().unwrap_or_default(),
    );
    if let Some(why) = installed.and_then(fundamental) {
        let what = if action.operation == Operation::Remove { "removed" } else { "replaced" };
        let cause = cause(action, all, status).map(|c| format!(" ({c})")).unwrap_or_default();
        return refuse(format!("cannot be {what}: {why}{cause}"), NEW_TEMPLATE.to_owned());
    }
    match action.operation {
        Operation::Upgrade | Operation::Downgrade if !request.allow_upgrade.contains(name) => {
            let verb = if action.operation == Operation::Upgrade { "upgraded" } else { "downgraded" };
            refuse(
                format!("is part of the template and would be {verb} from {old} to {new}"),
                format!("allow it with --allow-upgrade {name}"),
            )
        }
        Operation::Remove if action.asked_by == AskedBy::Consequence => {
            let cause =
                cause(action, all, status).unwrap_or_else(|| "it conflicts with what comes".to_owned());
            let or = if installed.is_some_and(|p| p.auto) { ", or give --auto-remove" } else { "" };
            refuse(
                format!("would be removed as well: {cause}"),
                format!("name it too, with --remove {name}{or}"),
            )
        }
        _ => None,
    }
}

/// What else makes a package go.
fn cause(action: &Action, all: &[Action], status: &Status) -> Option<String> {
    let package = status.get(&action.package)?;
    let removed = |a: &&Action| a.operation == Operation::Remove && package.needs.contains(&a.package);
    let needed = all.iter().find(removed)?;
    Some(format!("it depends on '{}'", needed.package))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: bash\nEssential: yes\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5\n\n\
        Package: apt\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\nPriority: important\n\n\
        Package: mount\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\nPriority: required\n\n\
        Package: tool\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\nDepends: lib (>= 1)\n\n\
        Package: lib\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\n";

    fn action(operation: Operation, package: &str, asked_by: AskedBy) -> Action {
        Action {
            operation,
            package: package.into(),
            architecture: "amd64".into(),
            old_version: Some("2".into()),
            new_version: (operation != Operation::Remove).then(|| "3".to_owned()),
            asked_by,
            origin: None,
            size: None,
            installed_size: None,
            sha256: None,
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
        let both = [action(Remove, "lib", Request), action(Remove, "tool", Consequence)];
        assert_eq!(
            check_actions(&both, &request, &status)[0].to_string(),
            "'tool': would be removed as well: it depends on 'lib'"
        );
    }
}
