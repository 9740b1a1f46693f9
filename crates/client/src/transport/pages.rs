//! Reading lists page by page, with an end even if the other side never ends.

use crate::error::ClientError;

/// The most pages that are read.
const MAX_PAGES: usize = 10_000;

/// Reads all pages; `read` takes a token and gives the items and the next token.
pub(super) async fn all<T>(
    read: impl AsyncFn(String) -> Result<(Vec<T>, String), ClientError>,
) -> Result<Vec<T>, ClientError> {
    let mut all = Vec::new();
    let mut token = String::new();
    for _ in 0..MAX_PAGES {
        let (items, next) = read(token).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
    Err(ClientError::Call {
        message: format!("a list has more than {MAX_PAGES} pages"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_read_in_order_until_the_last() {
        let read = async |token: String| {
            Ok(match token.as_str() {
                "" => (vec![1, 2], "next".to_owned()),
                _ => (vec![3], String::new()),
            })
        };

        assert_eq!(all(read).await.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn an_endless_list_is_given_up() {
        let read = async |_| Ok((Vec::<u8>::new(), "again".to_owned()));

        assert!(all(read).await.is_err());
    }
}
