"""siamed.pipeline"""
