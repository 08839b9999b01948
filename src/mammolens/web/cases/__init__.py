"""What is done with cases: hanging, assessments, summaries, the worklist."""
