//! The implementation of `Config` for one type.
//!
//! Touches: nothing.
//! Change here: when a struct or an enum should be described otherwise.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{Data, DataEnum, DeriveInput, Field, Fields, FieldsNamed, Variant};

use crate::serde_says::Says;

pub fn implement(input: &DeriveInput) -> syn::Result<TokenStream> {
    let says = Says::read(&input.attrs)?;
    let schema = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => table(fields, &says)?,
            _ => return Err(refused(&input.ident, "name the fields of this struct")),
        },
        Data::Enum(data) => words(data, &says)?,
        Data::Union(_) => return Err(refused(&input.ident, "a union cannot be read")),
    };
    let name = &input.ident;
    let (generics, arguments, conditions) = input.generics.split_for_impl();
    Ok(quote! {
        impl #generics ::changebus_sdk::Config for #name #arguments #conditions {
            const SCHEMA: ::changebus_sdk::config::Schema = #schema;
        }
    })
}

fn refused(at: &impl ToTokens, why: &str) -> syn::Error {
    syn::Error::new_spanned(at, format!("`Config` cannot describe this: {why}"))
}

fn table(fields: &FieldsNamed, says: &Says) -> syn::Result<TokenStream> {
    let mut described = vec![];
    for field in &fields.named {
        described.extend(self::field(field, says)?);
    }
    let about = &says.about;
    Ok(quote!(::changebus_sdk::config::Schema::table(#about, &[#(#described),*])))
}

fn field(field: &Field, table: &Says) -> syn::Result<Option<TokenStream>> {
    let says = Says::read(&field.attrs)?;
    if says.skip {
        return Ok(None);
    }
    let plain = field.ident.as_ref().map(plain).unwrap_or_default();
    let name = says.rename.unwrap_or_else(|| match table.rename_all {
        Some(case) => case.of_field(&plain),
        None => plain,
    });
    let (about, kind) = (&says.about, &field.ty);
    let optional = says.default || table.default;
    let mut described = quote! {
        ::changebus_sdk::config::Field::new::<#kind>(#name, #about, #optional)
    };
    if let Some(min) = says.min {
        described.extend(quote!(.at_least(#min)));
    }
    if let Some(max) = says.max {
        described.extend(quote!(.at_most(#max)));
    }
    Ok(Some(described))
}

fn words(data: &DataEnum, says: &Says) -> syn::Result<TokenStream> {
    let mut words = vec![];
    for variant in &data.variants {
        words.extend(word(variant, says)?);
    }
    let about = &says.about;
    Ok(quote!(::changebus_sdk::config::Schema::one_of(#about, &[#(#words),*])))
}

fn word(variant: &Variant, of: &Says) -> syn::Result<Option<String>> {
    let says = Says::read(&variant.attrs)?;
    if says.skip {
        return Ok(None);
    }
    if !matches!(variant.fields, Fields::Unit) {
        return Err(refused(
            variant,
            "a variant that holds values; a config table has words only",
        ));
    }
    let plain = plain(&variant.ident);
    Ok(Some(says.rename.unwrap_or_else(|| match of.rename_all {
        Some(case) => case.of_variant(&plain),
        None => plain,
    })))
}

fn plain(ident: &Ident) -> String {
    ident.unraw().to_string()
}
