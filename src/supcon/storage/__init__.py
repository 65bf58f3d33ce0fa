"""Files that are whole or absent (`files`, `tables`), locks (`lock`), and processes (`processes`)."""
