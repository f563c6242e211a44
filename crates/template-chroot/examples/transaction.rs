// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! Plans and applies a transaction: `transaction TREE [--plan] [add PKG|FILE.deb]... [remove PKG]... [auto PKG]...
//! [repo DIR]... [allow PKG]... [bind SRC:DST]... [update MODE] [autoremove 1] [keep 1]`

use std::process::ExitCode;

use template_chroot::apt::{Event, Transaction, TransactionRequest};
use template_chroot::{ChrootError, Root, watch};

fn main() -> ExitCode {
    template_chroot::sandbox_entry();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            if let Some(hint) = e.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(e.exit_code())
        }
    }
}

fn run() -> Result<(), ChrootError> {
    watch::handle_signals()?;
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let plan_only = args.iter().any(|a| a == "--plan");
    args.retain(|a| a != "--plan");
    let tree = if args.is_empty() { String::new() } else { args.remove(0) };
    let mut request = TransactionRequest { unsafe_io: true, ..Default::default() };
    for pair in args.chunks(2) {
        let value = pair.get(1).cloned().unwrap_or_default();
        match pair[0].as_str() {
            "add" => request.add.push(value.parse()?),
            "remove" => request.remove.push(value),
            "auto" => request.mark_auto.push(value),
            "repo" => request.repos.push(value.into()),
            "allow" => request.allow_upgrade.push(value),
            "bind" => request.binds.push(value.parse()?),
            "update" => request.update = value.parse()?,
            "autoremove" => request.auto_remove = true,
            "keep" => request.keep_debs = true,
            other => {
                return Err(ChrootError::Usage { message: format!("'{other}' is unknown"), hint: None });
            }
        }
    }
    let mut show = |event: Event<'_>| match event {
        Event::Step(name) => eprintln!("== {name}"),
        Event::Percent { percent, what } => eprintln!("{percent:5.1} % {what}"),
        Event::Output(line) => eprintln!("| {line}"),
    };
    let mut transaction = Transaction::open(Root::Tree(tree.into()), request, &mut show)?;
    let plan = transaction.plan()?;
    eprint!("{plan}");
    if plan_only {
        println!("{}", serde_json::to_string_pretty(&plan).unwrap_or_default());
        return plan.ensure_allowed();
    }
    let report = transaction.apply(&plan)?;
    println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    Ok(())
}
