"""Files that are whole or absent (`files`), and stages that know whether they are done (`stage`)."""
