"""Training and evaluation: the loop (`loop`), its optimizer (`optimizer`), its log (`log`), prediction (`evaluate`)."""
