"""What a stage leaves behind, and where: layout, manifest, stores."""
