//! What the `#[serde(...)]` and `#[config(...)]` attributes say, as far as a schema depends on it.
//!
//! Touches: nothing.
//! Change here: when an attribute of serde changes what a plugin reads.

use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, ExprUnary, Lit, LitStr, Meta, UnOp};

use crate::names::Case;

/// On a struct, an enum, a field or a variant alike.
#[derive(Debug, Default)]
pub struct Says {
    pub rename: Option<String>,
    pub rename_all: Option<Case>,
    pub default: bool,
    pub skip: bool,
    pub min: Option<String>,
    pub max: Option<String>,
    /// The doc comment, as one line a paragraph.
    pub about: String,
}

impl Says {
    pub fn read(attributes: &[Attribute]) -> syn::Result<Says> {
        let mut says = Says::default();
        let mut doc = vec![];
        for attribute in attributes {
            if attribute.path().is_ident("serde") {
                attribute.parse_nested_meta(|meta| says.serde(&meta))?;
            } else if attribute.path().is_ident("config") {
                attribute.parse_nested_meta(|meta| says.config(&meta))?;
            } else if attribute.path().is_ident("doc") {
                doc.extend(doc_line(attribute));
            }
        }
        says.about = paragraphs(&doc);
        Ok(says)
    }

    fn serde(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let word = meta.path.get_ident().map(ToString::to_string);
        match word.as_deref().unwrap_or_default() {
            "default" => {
                self.default = true;
                ignore_value(meta)
            }
            "skip" | "skip_deserializing" => {
                self.skip = true;
                Ok(())
            }
            "rename" => {
                self.rename = text_for_reading(meta)?.map(|text| text.value());
                Ok(())
            }
            "rename_all" => {
                let Some(rule) = text_for_reading(meta)? else {
                    return Ok(());
                };
                let unknown = || syn::Error::new(rule.span(), "serde knows no such `rename_all`");
                self.rename_all = Some(Case::named(&rule.value()).ok_or_else(unknown)?);
                Ok(())
            }
            "deny_unknown_fields" | "skip_serializing" => Ok(()),
            "skip_serializing_if" | "serialize_with" | "crate" | "bound" | "expecting" => {
                ignore_value(meta)
            }
            _ => Err(meta.error(
                "`Config` does not know what this makes serde read; leave it out, or implement `Config` by hand",
            )),
        }
    }

    fn config(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        if meta.path.is_ident("min") {
            self.min = Some(number(&meta.value()?.parse()?)?);
        } else if meta.path.is_ident("max") {
            self.max = Some(number(&meta.value()?.parse()?)?);
        } else {
            return Err(meta.error("`config` takes `min = number` and `max = number`"));
        }
        Ok(())
    }
}

fn ignore_value(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(syn::Token![=]) {
        meta.value()?.parse::<Expr>()?;
    }
    Ok(())
}

/// `= "text"`, or `(deserialize = "text")`; None where only the writing side is told.
fn text_for_reading(meta: &ParseNestedMeta<'_>) -> syn::Result<Option<LitStr>> {
    if meta.input.peek(syn::Token![=]) {
        return meta.value()?.parse().map(Some);
    }
    let mut text = None;
    meta.parse_nested_meta(|side| {
        let value = side.value()?.parse()?;
        if side.path.is_ident("deserialize") {
            text = Some(value);
        }
        Ok(())
    })?;
    Ok(text)
}

/// A number as JSON writes it.
fn number(value: &Expr) -> syn::Result<String> {
    let refused = || syn::Error::new(value.span(), "write a plain number, such as 0 or 0.5");
    match value {
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(_),
            expr,
            ..
        }) => Ok(format!("-{}", number(expr)?)),
        Expr::Lit(ExprLit {
            lit: Lit::Int(n), ..
        }) => Ok(n.base10_digits().to_owned()),
        Expr::Lit(ExprLit {
            lit: Lit::Float(n), ..
        }) => {
            let digits = n.base10_digits();
            let end = if digits.ends_with('.') { "0" } else { "" };
            Ok(format!("{digits}{end}"))
        }
        _ => Err(refused()),
    }
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(doc) = &attribute.meta else {
        return None;
    };
    match &doc.value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(line),
            ..
        }) => Some(line.value().trim().to_owned()),
        _ => None,
    }
}

fn paragraphs(lines: &[String]) -> String {
    let paragraphs = lines.split(|line| line.is_empty());
    let full = paragraphs.filter(|lines| !lines.is_empty());
    full.map(|lines| lines.join(" "))
        .collect::<Vec<_>>()
        .join("\n")
}
