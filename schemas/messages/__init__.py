"""Generated messages: one module for each topic. See schemas/codegen.py."""
