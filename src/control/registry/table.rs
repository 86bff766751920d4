//! A table of JSON values.

use std::marker::PhantomData;

use redb::{Key, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};

use super::{RegistryError, database};

/// Values of one type by keys of one type.
pub struct Table<K: Key + 'static, V> {
    definition: TableDefinition<'static, K, &'static [u8]>,
    values: PhantomData<V>,
}

impl<K: Key + 'static, V: Serialize + DeserializeOwned> Table<K, V> {
    /// A table of this name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            definition: TableDefinition::new(name),
            values: PhantomData,
        }
    }

    /// Makes the table if it isn't there: reading one that was never made is an error.
    pub fn create(&self, transaction: &WriteTransaction) -> Result<(), RegistryError> {
        transaction.open_table(self.definition).map_err(database)?;
        Ok(())
    }

    /// A value, as of before the transaction.
    pub fn read<'k>(
        &self,
        transaction: &ReadTransaction,
        key: K::SelfType<'k>,
    ) -> Result<Option<V>, RegistryError> {
        let table = transaction.open_table(self.definition).map_err(database)?;
        value_of(&table, key)
    }

    /// All values by the order of their keys, as of before the transaction.
    pub fn all(&self, transaction: &ReadTransaction) -> Result<Vec<V>, RegistryError> {
        values_of(&transaction.open_table(self.definition).map_err(database)?)
    }

    /// A value, with what the transaction has changed.
    pub fn get<'k>(
        &self,
        transaction: &WriteTransaction,
        key: K::SelfType<'k>,
    ) -> Result<Option<V>, RegistryError> {
        let table = transaction.open_table(self.definition).map_err(database)?;
        value_of(&table, key)
    }

    /// All values, with what the transaction has changed.
    pub fn entries(&self, transaction: &WriteTransaction) -> Result<Vec<V>, RegistryError> {
        values_of(&transaction.open_table(self.definition).map_err(database)?)
    }

    /// Sets a value.
    pub fn put<'k>(
        &self,
        transaction: &WriteTransaction,
        key: K::SelfType<'k>,
        value: &V,
    ) -> Result<(), RegistryError> {
        let json = serde_json::to_vec(value)?;
        let mut table = transaction.open_table(self.definition).map_err(database)?;
        table.insert(key, &*json).map_err(database)?;
        Ok(())
    }

    /// Removes a value.
    pub fn remove<'k>(
        &self,
        transaction: &WriteTransaction,
        key: K::SelfType<'k>,
    ) -> Result<(), RegistryError> {
        let mut table = transaction.open_table(self.definition).map_err(database)?;
        table.remove(key).map_err(database)?;
        Ok(())
    }

    /// Keeps only some values.
    pub fn retain(
        &self,
        transaction: &WriteTransaction,
        keep: impl Fn(&V) -> bool,
    ) -> Result<(), RegistryError> {
        let mut table = transaction.open_table(self.definition).map_err(database)?;
        // What cannot be read is kept, for somebody who can.
        table
            .retain(|_, json| serde_json::from_slice(json).map_or(true, |value| keep(&value)))
            .map_err(database)
    }
}

fn value_of<'k, K: Key + 'static, V: DeserializeOwned>(
    table: &impl ReadableTable<K, &'static [u8]>,
    key: K::SelfType<'k>,
) -> Result<Option<V>, RegistryError> {
    match table.get(key).map_err(database)? {
        Some(json) => Ok(Some(serde_json::from_slice(json.value())?)),
        None => Ok(None),
    }
}

fn values_of<K: Key + 'static, V: DeserializeOwned>(
    table: &impl ReadableTable<K, &'static [u8]>,
) -> Result<Vec<V>, RegistryError> {
    let mut values = Vec::new();
    for entry in table.iter().map_err(database)? {
        let (_, json) = entry.map_err(database)?;
        values.push(serde_json::from_slice(json.value())?);
    }
    Ok(values)
}
