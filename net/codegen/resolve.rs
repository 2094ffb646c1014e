//! Settles what the emitted code needs to know: which versions reach a structure, whether it borrows from the frame,
//! and the fewest bytes it takes on the wire.

use super::schema::{Default, Field, File, Message, SchemaError, Struct, Type, Versions, error};

/// One structure with everything the emitters ask about.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Its name, fields in wire order.
    pub name: String,
    /// Fields in wire order; none is absent at all of `range`.
    pub fields: Vec<Field>,
    /// Versions at which any message holds it.
    pub range: Versions,
    /// The message it belongs to, by position in the file.
    pub message: usize,
    /// Whether it is that message's top structure.
    pub top: bool,
    /// Whether it, or a structure inside it, borrows from the frame.
    pub borrows: bool,
    /// Whether all defaults are what `Default` derives.
    pub derives_default: bool,
}

/// One file, resolved. Structures keep the file's order.
#[derive(Debug, Clone)]
pub struct Module {
    /// The module's name, from the file's.
    pub name: String,
    /// Messages in order of the file.
    pub messages: Vec<Message>,
    /// Structures in order of the file.
    pub structs: Vec<Resolved>,
}

impl Module {
    /// The structure called `name`; resolving has made sure that it exists.
    pub fn get(&self, name: &str) -> &Resolved {
        self.structs
            .iter()
            .find(|s| s.name == name)
            .expect("names are resolved")
    }

    /// Versions at which `of`'s message is flexible.
    pub fn flexible(&self, of: &Resolved) -> Option<Versions> {
        self.messages[of.message].flexible.and_then(|f| f.and(of.range))
    }

    /// The fewest bytes one array element of `field` (in `of`) takes, over all versions that have it. At least 1.
    pub fn min_wire(&self, of: &Resolved, field: &Field) -> usize {
        let Type::Struct(name) = &field.ty else { return 1 };
        let Some(present) = field.versions.and(of.range) else {
            return 1;
        };
        let inner = self.get(name);
        (present.min..=present.max)
            .map(|v| self.struct_wire(inner, v))
            .min()
            .unwrap_or(1)
    }

    fn struct_wire(&self, of: &Resolved, version: i16) -> usize {
        let flex = self.flexible(of).is_some_and(|f| f.contains(version));
        let fields = of
            .fields
            .iter()
            .filter(|f| f.tag.is_none() && f.versions.contains(version));
        let sum: usize = fields.map(|f| self.field_wire(f, flex, version)).sum();
        sum + usize::from(flex)
    }

    fn field_wire(&self, field: &Field, flex: bool, version: i16) -> usize {
        if field.array {
            return if flex { 1 } else { 4 };
        }
        match &field.ty {
            Type::Bool | Type::Int8 => 1,
            Type::Int16 | Type::Uint16 => 2,
            Type::Int32 => 4,
            Type::Int64 | Type::Float64 => 8,
            Type::Uuid => 16,
            Type::String => 2 - usize::from(flex),
            Type::Bytes | Type::Records => 4 - 3 * usize::from(flex),
            Type::Struct(_) if field.null.is_some() => 1,
            Type::Struct(name) => self.struct_wire(self.get(name), version),
        }
    }
}

/// Resolves one parsed file.
pub fn resolve(name: &str, file: File) -> Result<Module, SchemaError> {
    let mut slots: Vec<Option<(Versions, usize)>> = vec![None; file.structs.len()];
    for (m, message) in file.messages.iter().enumerate() {
        let flexible = message.flexible.map(|f| f.and(message.versions));
        if flexible == Some(None) {
            return error(0, format!("{}: flexible at no version", message.name));
        }
        visit(&file, &mut slots, m, &message.name, message.versions, 0)?;
    }
    let mut structs = Vec::new();
    for (s, slot) in file.structs.iter().zip(&slots) {
        let Some((range, message)) = *slot else {
            return error(0, format!("structure {} is used by no field", s.name));
        };
        let owner = &file.messages[message];
        check_tags(s, owner, range)?;
        structs.push(Resolved {
            name: s.name.clone(),
            fields: s
                .fields
                .iter()
                .filter(|f| f.versions.and(range).is_some())
                .cloned()
                .collect(),
            range,
            message,
            top: owner.name == s.name,
            borrows: false,
            derives_default: s.fields.iter().all(is_natural),
        });
    }
    // Borrowing spreads from the leaves; the structures are few, so simply repeat until nothing changes.
    loop {
        let names: Vec<String> = structs
            .iter()
            .filter(|s| s.borrows)
            .map(|s| s.name.clone())
            .collect();
        let mut changed = false;
        for s in structs.iter_mut().filter(|s| !s.borrows) {
            s.borrows = s.fields.iter().any(|f| match &f.ty {
                Type::String | Type::Bytes | Type::Records => true,
                Type::Struct(name) => names.contains(name),
                _ => false,
            });
            changed |= s.borrows;
        }
        if !changed {
            break;
        }
    }
    let module = Module {
        name: name.to_string(),
        messages: file.messages,
        structs,
    };
    for s in &module.structs {
        for f in s.fields.iter().filter(|f| f.array) {
            if module.min_wire(s, f) == 0 {
                return error(
                    f.line,
                    format!("elements of {} may be empty, so their count has no bound", f.name),
                );
            }
        }
    }
    Ok(module)
}

/// Whether the field's default is that of its Rust type. A nullable field without `default null` starts non-null.
pub fn is_natural(field: &Field) -> bool {
    match field.default {
        Default::None => field.null.is_none() || field.ty == Type::Records,
        Default::Null => true,
        Default::True | Default::Number(_) => false,
    }
}

fn visit(
    file: &File,
    slots: &mut [Option<(Versions, usize)>],
    message: usize,
    name: &str,
    range: Versions,
    depth: usize,
) -> Result<(), SchemaError> {
    let Some(index) = file.structs.iter().position(|s| s.name == name) else {
        return error(0, format!("structure {name} is defined nowhere"));
    };
    if depth > 16 {
        return error(0, format!("structure {name} contains itself"));
    }
    slots[index] = match slots[index] {
        None => Some((range, message)),
        Some((seen, owner)) if owner == message => Some((seen.span(range), message)),
        Some(_) => return error(0, format!("structure {name} is shared between messages")),
    };
    for field in &file.structs[index].fields {
        let Type::Struct(inner) = &field.ty else { continue };
        if let Some(present) = field.versions.and(range) {
            visit(file, slots, message, inner, present, depth + 1)?;
        }
    }
    Ok(())
}

fn check_tags(s: &Struct, owner: &Message, range: Versions) -> Result<(), SchemaError> {
    let mut seen = Vec::new();
    for f in s.fields.iter().filter(|f| f.tag.is_some()) {
        if seen.contains(&f.tag) {
            return error(f.line, format!("tag of {} is taken", f.name));
        }
        seen.push(f.tag);
        let present = f.versions.and(range);
        if present.is_some_and(|p| !owner.flexible.is_some_and(|flex| flex.covers(p))) {
            return error(
                f.line,
                format!("{} is tagged at versions that are not flexible", f.name),
            );
        }
    }
    Ok(())
}
