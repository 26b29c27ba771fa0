//! reqwest with its defaults and the native roots: it knows cambist by environment variables alone.
use std::env::var;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let response = reqwest::blocking::Client::new()
        .post(var("URL")?)
        .bearer_auth(var("TOKEN")?)
        .header("Content-Type", "application/json")
        .header("Accept", "application/json, text/event-stream")
        .body(var("BODY")?)
        .send()?;
    println!("{}", response.status().as_u16());
    Ok(())
}
