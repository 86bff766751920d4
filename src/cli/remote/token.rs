//! `tidewright token`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{OutputArguments, ServerArguments, ago, table, tell, told};
use crate::control::api::views::{CreatedToken, NewToken, TokenList};
use crate::control::registry::records::Role;
use crate::control::remote::path_part;

/// What is done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints it, this once.
    Create(CreateArguments),
    /// Shows the tokens there are.
    List(ListArguments),
    /// Makes a token worthless.
    Revoke(RevokeArguments),
}

/// Arguments of `tidewright token create`.
#[derive(Debug, Args)]
pub struct CreateArguments {
    /// The token's name: who or what will hold it.
    name: String,
    /// What its holder may do: `viewer` looks, `operator` submits and stops jobs, `admin` makes tokens.
    #[arg(long)]
    role: Role,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Arguments of `tidewright token list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Arguments of `tidewright token revoke`.
#[derive(Debug, Args)]
pub struct RevokeArguments {
    /// The token's name.
    name: String,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Makes, shows and revokes tokens.
pub fn token(command: &TokenCommand) -> ExitCode {
    tell(match command {
        TokenCommand::Create(arguments) => create(arguments),
        TokenCommand::List(arguments) => list(arguments),
        TokenCommand::Revoke(arguments) => revoke(arguments),
    })
}

fn create(arguments: &CreateArguments) -> Result<ExitCode, ExitCode> {
    let new = NewToken {
        name: arguments.name.clone(),
        role: arguments.role,
    };
    let created: CreatedToken = arguments
        .server
        .connect()?
        .post_json("/v1/tokens", &new, None)
        .map_err(told)?;
    Ok(arguments.output.output.print(&created, &created.token))
}

fn list(arguments: &ListArguments) -> Result<ExitCode, ExitCode> {
    let list: TokenList = arguments
        .server
        .connect()?
        .get("/v1/tokens")
        .map_err(told)?;
    let rows: Vec<_> = list
        .tokens
        .iter()
        .map(|token| {
            let role = token.role.name().to_owned();
            vec![token.name.clone(), role, ago(token.created_ms)]
        })
        .collect();
    let text = table(&["TOKEN", "ROLE", "AGE"], &rows);
    Ok(arguments.output.output.print(&list, &text))
}

fn revoke(arguments: &RevokeArguments) -> Result<ExitCode, ExitCode> {
    let path = format!("/v1/tokens/{}", path_part(&arguments.name));
    arguments.server.connect()?.delete(&path).map_err(told)?;
    let revoked = serde_json::json!({ "revoked": arguments.name });
    let text = format!("the token {} is revoked", arguments.name);
    Ok(arguments.output.output.print(&revoked, &text))
}
