//! Puts what was measured into a page that people read, between two marks.

use anyhow::{Result, bail};

/// The page with everything between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` replaced.
pub(crate) fn replaced(page: &str, name: &str, by: &str) -> Result<String> {
    let (begin, end) = (
        format!("<!-- bench:{name} -->"),
        format!("<!-- /bench:{name} -->"),
    );
    let Some((before, rest)) = page.split_once(&begin) else {
        bail!("the page has no mark {begin}");
    };
    let Some((_, after)) = rest.split_once(&end) else {
        bail!("the page has no mark {end} after {begin}");
    };
    Ok(format!("{before}{begin}\n{}\n{end}{after}", by.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_the_marks_is_replaced() {
        let page = "before\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nafter\n";
        let new = replaced(page, "x", "new\n").unwrap();
        assert_eq!(new, "before\n<!-- bench:x -->\nnew\n<!-- /bench:x -->\nafter\n");
        assert_eq!(replaced(&new, "x", "new").unwrap(), new);
        assert!(replaced(page, "y", "").is_err());
    }
}
