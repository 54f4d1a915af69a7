//! How an object is shown: a value, siblings, or nothing.

use super::dates::http_date;
use super::http::Request;
use super::replica::{Content, Object};
use super::response::{Response, html};

/// An object as GET and a PUT with `returnbody` show it.
pub(super) fn shown(object: &Object, request: &Request, bucket: &str, written: bool) -> Response {
    if object.is_tombstone() {
        let response = Response::new(404, "Object Not Found");
        let response = if object.siblings.is_empty() {
            response
        } else {
            response
                .header("X-Riak-Vclock", object.clock.encode())
                .header("X-Riak-Deleted", "true")
        };
        return response.body("text/plain", "not found\n");
    }
    let link = format!("</buckets/{bucket}>; rel=\"up\"");
    let newest = object
        .siblings
        .iter()
        .map(|sibling| sibling.content.modified)
        .max();
    let modified = http_date(newest.unwrap_or(std::time::UNIX_EPOCH));
    let picked = request.param("vtag").filter(|_| !written);
    let single = match (picked, object.siblings.as_slice()) {
        (Some(vtag), siblings) => {
            let Some(sibling) = siblings.iter().find(|sibling| sibling.content.vtag == vtag) else {
                return html(404, "Object Not Found", "Not Found");
            };
            Some(sibling)
        }
        (None, [single]) => Some(single),
        (None, _) => None,
    };
    if let Some(single) = single {
        let content = &single.content;
        if !written && !accepts(request, &content.content_type) {
            return html(406, "Not Acceptable", "Not Acceptable");
        }
        return with_meta(
            Response::new(200, "OK").header("X-Riak-Vclock", object.clock.encode()),
            content,
        )
        .header("Link", link)
        .header("Last-Modified", modified)
        .header("ETag", format!("\"{}\"", content.vtag))
        .body(&content.content_type, content.value.clone());
    }
    let first = object
        .siblings
        .first()
        .map(|sibling| sibling.content.vtag.clone())
        .unwrap_or_default();
    let response = Response::new(300, "Multiple Choices")
        .header("X-Riak-Vclock", object.clock.encode())
        .header("Last-Modified", modified)
        .header("ETag", format!("\"{first}\""));
    let wants = request.header("accept").unwrap_or("*/*");
    if !written && !wants.contains("multipart/mixed") {
        if !wants.contains("*/*") && !wants.contains("text/plain") {
            return html(406, "Not Acceptable", "Not Acceptable");
        }
        let vtags: String = object
            .siblings
            .iter()
            .map(|sibling| format!("{}\n", sibling.content.vtag))
            .collect();
        return response.body("text/plain", format!("Siblings:\n{vtags}"));
    }
    let boundary: String = first.chars().rev().collect();
    let mut body = Vec::new();
    for sibling in &object.siblings {
        let content = &sibling.content;
        body.extend_from_slice(
            format!(
                "\r\n--{boundary}\r\nContent-Type: {}\r\nLink: {link}\r\nEtag: {}\r\nLast-Modified: {}\r\n",
                content.content_type,
                content.vtag,
                http_date(content.modified)
            )
            .as_bytes(),
        );
        for (name, value) in &content.meta {
            body.extend_from_slice(format!("X-Riak-Meta-{name}: {value}\r\n").as_bytes());
        }
        if content.deleted {
            body.extend_from_slice(b"X-Riak-Deleted: true\r\n");
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(&content.value);
    }
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    response.body(&format!("multipart/mixed; boundary={boundary}"), body)
}

fn with_meta(mut response: Response, content: &Content) -> Response {
    for (name, value) in &content.meta {
        response = response.header(&format!("X-Riak-Meta-{name}"), value.clone());
    }
    response
}

/// Whether the client takes this type.
pub(super) fn accepts(request: &Request, content_type: &str) -> bool {
    let Some(accept) = request.header("accept") else {
        return true;
    };
    accept
        .split(',')
        .filter_map(|range| range.split(';').next())
        .map(str::trim)
        .any(|range| range == "*/*" || content_type.starts_with(range))
}
