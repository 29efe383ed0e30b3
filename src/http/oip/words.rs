//! `NaN`, `Infinity` and `-Infinity` as bare words, which JSON has not and Python's writers write.

/// The text with those words in quotes, where it has any outside of strings. They are one thing to what reads the data.
pub(super) fn quoted(json: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let mut out = Vec::new();
    let (mut done, mut place, mut in_string) = (0, 0, false);
    while place < json.len() {
        match json[place] {
            b'\\' if in_string => place += 1,
            b'"' => in_string = !in_string,
            b'N' | b'I' | b'-' if !in_string => {
                let rest = &json[place..];
                if let Some(word) = WORDS.iter().find(|word| rest.starts_with(word)) {
                    out.extend_from_slice(&json[done..place]);
                    out.push(b'"');
                    out.extend_from_slice(word);
                    out.push(b'"');
                    place += word.len();
                    done = place;
                    continue;
                }
            }
            _ => {}
        }
        place += 1;
    }
    if done == 0 {
        return None;
    }
    out.extend_from_slice(&json[done..]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_words_are_quoted_and_strings_stay() {
        let quote = |text: &str| quoted(text.as_bytes()).map(|out| String::from_utf8(out).unwrap());
        assert_eq!(
            quote(r#"[NaN,-Infinity,Infinity,-1,"NaN \" Infinity",NaN]"#).unwrap(),
            r#"["NaN","-Infinity","Infinity",-1,"NaN \" Infinity","NaN"]"#
        );
        assert_eq!(quote(r#"{"a": "NaN", "b": "\\", "c": -1}"#), None);
        assert_eq!(quote("\"\\"), None);
    }
}
