"""The rules of the contract by what they are about, one function each."""
