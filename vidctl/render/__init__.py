"""What people take home: annotated pictures, crops and result files."""
